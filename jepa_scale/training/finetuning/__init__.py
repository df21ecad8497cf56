"""What fine-tuning minimises; each way is one file."""
