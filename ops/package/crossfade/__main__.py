"""`python -m crossfade`: the same command where the script is not on the path."""

from crossfade import main

main()
