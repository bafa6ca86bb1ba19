package provider

// FurtherNames lists the rows that have further endpoints.
func FurtherNames() []string {
	var names []string
	for name := range further {
		names = append(names, name)
	}
	return names
}
