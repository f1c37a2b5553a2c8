"""Histories of transactions, and the anomalies that they prove. Pure."""
