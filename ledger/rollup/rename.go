package rollup

// Rename returns the key of the cell with another name in the place of one; false if the cell
// has not that name.
func Rename(key []byte, d Dim, from, to string) ([]byte, bool) {
	var c cell
	if c.parse(key) != nil || string(c.names[d]) != from || from == "" {
		return nil, false
	}
	out := append([]byte{}, key[:headLen]...)
	for _, of := range families[key[0]].dims {
		name := string(c.names[of])
		if of == d {
			name = to
		}
		out = appendName(out, name)
	}
	return out, true
}
