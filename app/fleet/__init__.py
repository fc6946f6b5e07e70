"""Many cells as one: who is there, what they tell and ask each other, and which of them leads."""
