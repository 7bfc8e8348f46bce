"""The schema of the gateway's Postgres, as numbered steps, and the runner that takes them."""
