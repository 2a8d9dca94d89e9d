"""What is done to datasets before training: checking them, preparing benchmarks, generating toy scenes."""
