package secrets

// Keywords are those of all rules that are looked for.
func Keywords(s *Secrets) []string {
	var all []string
	for _, r := range s.rules {
		all = append(all, r.keywords...)
	}
	return all
}
