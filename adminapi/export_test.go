package adminapi

// ReadsOwn says whether an inference key may use the route for what is its own.
func ReadsOwn(route string) bool { return rights[route].inference == own }
