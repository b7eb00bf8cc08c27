package hostcheck

// ParseNameservers is for the fuzz target.
var ParseNameservers = parseNameservers
