"""The whole path in one command: record, convert, train, evaluate, report."""
