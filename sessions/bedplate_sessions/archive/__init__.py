"""Conversations as files that can be checked and read in again."""
