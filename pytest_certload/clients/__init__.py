"""How is one request spoken and timed?"""
