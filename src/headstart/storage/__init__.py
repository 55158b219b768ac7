"""What is fetched once or kept between runs: wheels, the store, the cache folder."""
