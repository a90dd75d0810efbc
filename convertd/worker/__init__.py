"""Workers: claiming jobs, running them, and keeping house."""
