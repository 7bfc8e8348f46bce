"""What becomes of conversations, responses and replies when their time is over."""
