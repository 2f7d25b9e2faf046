"""Taking up a store that another program of this format wrote, without converting."""
