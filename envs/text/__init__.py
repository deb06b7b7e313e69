"""Text games with rule-based oracles."""
