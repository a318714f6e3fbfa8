// The text of a page that can be edited, and whose characters have colours. (Its interface follows.)
