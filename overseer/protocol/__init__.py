"""The wire: messages, codec, frames and output batches."""
