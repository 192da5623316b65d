"""Networks that are trained again on the one image they are to enlarge."""
