# stub; grown by ops
lock:
	.venv/bin/uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 --extra build pyproject.toml -o requirements.txt -q
	.venv/bin/uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 --extra build --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt -q
