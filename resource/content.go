package resource

import "time"

// maxContentDays is the longest that contents are kept.
const maxContentDays = 3660

// ContentRule decides whether what a request says is kept, and for how long, by the policies of its levels: never
// if one forbids it, whoever else wants it; else if the cluster's setting or one of the levels of the credential
// wants it. The zero value is a request under no policy.
type ContentRule struct {
	forbidden, wanted bool
	days              int64 // the least that a level says; 0: none says any
}

// Add takes a policy into account, which may be nil. A customer's and a tag's, which clients name, do not turn it on.
func (c *ContentRule) Add(kind string, p *Policy) {
	if p == nil {
		return
	}
	c.forbidden = c.forbidden || p.Private()
	if kind != HolderCustomer && kind != HolderTag {
		c.wanted = c.wanted || p.LogContent != nil && *p.LogContent
	}
	if d := p.LogContentDays; d != nil && (c.days == 0 || *d < c.days) {
		c.days = *d
	}
}

// Age is for how long what the request says is kept; 0: it is not.
func (c *ContentRule) Age(s *Settings) time.Duration {
	if c.forbidden || !c.wanted && !s.LogContent {
		return 0
	}
	days := c.days
	if days == 0 {
		days = s.LogContentDays
	}
	return time.Duration(days) * 24 * time.Hour
}
