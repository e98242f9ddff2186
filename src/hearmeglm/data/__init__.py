"""The data workshop: read, clean, audit, scrub, deduplicate, split, export. Start with `sources.read` and `prepare.prepare`."""
