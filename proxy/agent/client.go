package agent

import (
	"net/http"

	"github.com/conclave-llm/conclave/resource"
)

// Client is who a request is from, as the data path has found out.
type Client struct {
	Catalog  *resource.Catalog // the one view of the request
	Who      *resource.Principal
	Levels   []resource.Level // Who's own, then those of the end user and the tags
	Own      int              // how many of Levels are Who's own
	Customer string
	Tags     []string
	Session  string
	Header   http.Header
	Secret   string // that must not go to a server
}
