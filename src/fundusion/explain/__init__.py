"""Why a network answered as it did: where it looked, which modality counted, which cells and phrases."""
