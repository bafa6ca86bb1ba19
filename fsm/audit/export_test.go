package audit

// What the tests look at by itself.
var (
	Render = render
	Hide   = hide
)
