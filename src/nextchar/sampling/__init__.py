"""Generation: packed engines that draw ids for many streams side by side, and the text around them."""
