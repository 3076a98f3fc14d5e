"""FireCommander: perception agents find fires, action agents put them out."""
