"""What makes the image, in parts that its forms use too: places, inputs, mkosi, archives, the manifest."""
