"""The gateway: dialects, engine, access, records, catalogue, web application and command line."""
