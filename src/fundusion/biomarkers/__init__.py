"""Numbers of vessels, disc, cup and lesions from masks: plain numpy in and out, compiled where pixels are walked."""
