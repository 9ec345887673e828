"""Networks: batch in, logits out; no files, no losses."""
