"""Pure data and rules: jobs, formats, operations. Nothing here does I/O."""
