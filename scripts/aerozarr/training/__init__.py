"""What training with torch needs: a dataset, batches, normalized values."""
