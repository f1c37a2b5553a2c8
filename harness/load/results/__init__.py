"""What a load agent leaves: samples, histograms, outcome counts, and how several of them are merged."""
