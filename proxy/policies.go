package proxy

import (
	"context"
	"net/http"
	"slices"

	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/proxy/policy"
	"github.com/conclave-llm/conclave/resource"
)

// Customers looks end users up.
type Customers interface {
	// Customer returns the record of an end user, if he has one. It must not be changed.
	Customer(id string) (*resource.Customer, bool)
}

// checkPolicies is the step that finds out for whom the request is, and checks what the
// settings and every level demand of it. Nothing of a request that is refused here has left
// the node or was kept.
func checkPolicies(_ context.Context, s *Server, c *Call) error {
	set := c.cat.Settings()
	if err := c.nameCustomer(set); err != nil {
		return err
	}
	c.session = policy.Session(c.header, &c.fields)
	if err := policy.Wishes(c.header, &c.fields); err != nil {
		return err
	}
	if err := s.admitCustomer(c); err != nil {
		return err
	}
	if err := c.tag(c.header, c.fields.Tags); err != nil {
		return err
	}
	if err := s.checkRequest(c, c.levels[c.chain:]); err != nil {
		return err
	}
	return s.findServers(c)
}

// nameCustomer finds the id of the end user: the one that the credential is for, or whom the request names. What
// cannot be counted for anybody is not told of in the record.
func (c *Call) nameCustomer(set *resource.Settings) (err error) {
	if id := c.who.CustomerID; id != "" {
		c.fields.User = id
		return nil
	}
	c.fields.User, err = policy.Customer(c.header, set, &c.fields)
	return err
}

// tag gives the call its own tags, those that the header has and those of its levels, and takes the
// records that tags have into the levels: behind who's own and the customer, in the place of any that are there.
func (c *Call) tag(h http.Header, own []string) error {
	if i := slices.IndexFunc(c.levels, func(l resource.Level) bool { return l.Kind == resource.HolderTag || l.Kind == resource.HolderModel }); i >= 0 {
		c.levels = c.levels[:i]
	}
	var err error
	if c.fields.Tags, err = policy.Tags(h, c.levels, own); err != nil {
		return err
	}
	for _, id := range c.fields.Tags {
		if t, ok := c.cat.Tag(id); ok {
			c.levels = append(c.levels, resource.Level{Kind: resource.HolderTag, ID: t.ID, Allowance: &t.Allowance, Policy: &t.Policy})
		}
	}
	c.above = len(c.levels)
	return nil
}

// checkRequest checks what the policies demand of the request as it is: all levels of its body, and those
// that were added of where it comes from.
func (s *Server) checkRequest(c *Call, added []resource.Level) error {
	if err := s.checkAdded(c, added); err != nil {
		return err
	}
	set := c.cat.Settings()
	if err := policy.CheckParams(c.body, set, c.who.Key, c.levels, c.fields.User); err != nil {
		return err
	}
	c.most = policy.ResponseLimit(set, c.levels)
	return policy.CheckSession(c.levels, c.session)
}

// checkCustomer is the step of requests without a body: their end user may stand in a header.
func checkCustomer(_ context.Context, s *Server, c *Call) error {
	if err := c.nameCustomer(c.cat.Settings()); err != nil {
		return err
	}
	if err := s.admitCustomer(c); err != nil {
		return err
	}
	c.above = len(c.levels)
	return s.checkLate(c)
}

// admitCustomer refuses a blocked end user, and adds one that has a record, or a budget without one, to the levels.
func (s *Server) admitCustomer(c *Call) error {
	id := c.fields.User
	if id == "" {
		return nil
	}
	var record *resource.Customer
	if s.cfg.Customers != nil {
		record, _ = s.cfg.Customers.Customer(id)
	}
	if record == nil && c.who.CustomerID != "" {
		return auth.Stranger(resource.HolderCustomer)
	}
	if err := policy.CheckCustomer(id, c.cat.Settings(), record); err != nil {
		return err
	}
	if record != nil {
		c.instead, c.region = record.DefaultModel, record.Region
	}
	l, none, ok := c.cat.CustomerLevel(id, record, c.who)
	if !ok {
		return policy.NoBudget()
	}
	if !none {
		c.levels = append(c.levels, l)
	}
	return nil
}

// checkEarly checks what can be told before the body is read: the route and the address.
func (s *Server) checkEarly(c *Call) error {
	if err := policy.CheckType(c.who.Key, c.path); err != nil {
		return err
	}
	if err := policy.CheckRoute(c.levels, c.route.name, c.path); err != nil {
		return err
	}
	return policy.CheckSource(c.peer, c.header, c.cat.Settings(), c.levels)
}

// checkLate checks the same of the levels that the body has added, and its size.
func (s *Server) checkLate(c *Call) error { return s.checkAdded(c, c.levels[c.chain:]) }

func (s *Server) checkAdded(c *Call, added []resource.Level) error {
	if len(added) == 0 {
		return nil
	}
	if err := policy.CheckExpiry(added, s.now()); err != nil {
		return err
	}
	if err := policy.CheckRoute(added, c.route.name, c.path); err != nil {
		return err
	}
	if c.route.prefix != nil && !c.here {
		if err := passAllowed(c, added); err != nil {
			return err
		}
	}
	set := c.cat.Settings()
	if err := policy.CheckSource(c.peer, c.header, set, added); err != nil {
		return err
	}
	return policy.CheckSize(int64(c.size()), c.sizeLimit(added))
}

// checkFallbacks checks the models that the client wants to fall back to, and follows their aliases.
func (c *Call) checkFallbacks() error {
	c.wished = slices.Clone(c.fields.Fallbacks)
	return policy.Fallbacks(c.cat, c.levels[:c.above], c.fields.Fallbacks)
}
