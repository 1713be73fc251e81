"""What every other folder may use: words, records, results, the registry, errors, durable files."""
