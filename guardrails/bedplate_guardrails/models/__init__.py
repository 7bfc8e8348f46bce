"""The models that run on a CPU beside the gateway: small, local, without a download.

They need the optional extra `models`, take texts and return numbers, and know nothing of policies. The gateway's own
process never imports this package; a worker process does.
"""
