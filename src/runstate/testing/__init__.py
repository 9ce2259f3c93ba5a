"""What we test with, for those who test code that uses runstate or write their own adapters. Nothing imports it."""
