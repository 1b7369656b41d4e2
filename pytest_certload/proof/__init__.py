"""Was the work really done, and where did the time go? What is looked at beside the answers."""
