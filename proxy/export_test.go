package proxy

// Row is a route as the conformance tests see it.
type Row struct {
	Name     string // the first of its patterns
	Method   string // "" for any
	Patterns []string
	Lookup   bool              // asks no provider
	Exempt   map[string]string // the steps that do not apply, and why
}

// Rows lists every route, also the one of the endpoints that administrators configure.
func (s *Server) Rows() []Row {
	var all []Row
	for _, r := range append(s.routes[:len(s.routes):len(s.routes)], s.configured) {
		row := Row{Name: r.name, Method: r.method, Lookup: r.lookup, Exempt: r.steps.exempt}
		for _, p := range r.patterns {
			if r.verb != "" {
				p += ":" + r.verb
			}
			row.Patterns = append(row.Patterns, p)
		}
		row.Name = row.Patterns[0]
		all = append(all, row)
	}
	return all
}
