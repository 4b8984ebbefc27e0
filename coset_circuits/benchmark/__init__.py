"""Networks whose algorithm is known, and what is said of them."""
