package litellm

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// keyChoice is which keys a query asks for.
type keyChoice struct {
	query records.Query                // narrows the keys that are looked at
	fits  []func(k *resource.Key) bool // all that a key must be
	more  bool                         // fits ask more than the query can
}

// narrow asks for what the query says, too.
func (c *keyChoice) narrow(fits func(k *resource.Key) bool) { c.fits = append(c.fits, fits) }

// add asks for what the query cannot say.
func (c *keyChoice) add(fits func(k *resource.Key) bool) {
	c.narrow(fits)
	c.more = true
}

func (c *keyChoice) has(k *resource.Key) bool {
	return !slices.ContainsFunc(c.fits, func(fits func(*resource.Key) bool) bool { return !fits(k) })
}

func (a *API) keyList(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	q := r.URL.Query()
	if err := wire.RefuseParams(q, "agent_id"); err != nil {
		return err
	}
	page, err := wire.PageOf(q, "size", 10)
	if err != nil {
		return err
	}
	whole, err := wire.Flag(q, "return_full_object")
	if err != nil {
		return err
	}
	withUser, err := expandsUser(q)
	if err != nil {
		return err
	}
	found, total, err := a.listed(by, q, page)
	if err != nil {
		return err
	}
	keys := make([]any, 0, len(found))
	for _, k := range found {
		if !whole && !withUser {
			keys = append(keys, k.Hash)
			continue
		}
		row := a.keyRow(k)
		if withUser {
			row["user"] = nil
			if u, err := a.cfg.Records.Users.One(by, k.UserID); err == nil {
				row["user"] = a.userRow(u)
			}
		}
		keys = append(keys, row)
	}
	return wire.Answer(w, records.Written{}, map[string]any{
		"keys": keys, "total_count": total, "current_page": page.Number, "total_pages": page.Pages(total),
	})
}

// expandsUser says whether keys are shown with their users.
func expandsUser(q url.Values) (bool, error) {
	all := append(wire.List(q, "expand"), wire.List(q, "expand[]")...)
	for _, what := range all {
		if what != "user" {
			return false, wire.Invalid("expand", what+" is not possible; user is")
		}
	}
	return len(all) > 0, nil
}

// listed finds one page of keys, and how many there are on all.
func (a *API) listed(by records.Caller, q url.Values, page wire.Page) (found []*resource.Key, total int, err error) {
	c, err := a.keyChoice(q)
	if err != nil {
		return nil, 0, err
	}
	orders := a.keyOrders()
	column, ok := keySorts[q.Get("sort_by")]
	if !c.more && !by.OwnOnly && (ok || q.Get("sort_by") == "") { // need not look at every key
		desc, err := wire.Descending(q, "desc")
		if err != nil {
			return nil, 0, err
		}
		if c.query.Sort = cmp.Or(column, "created_at"); desc {
			c.query.Sort = "-" + c.query.Sort
		}
		c.query.Offset, c.query.Limit = (page.Number-1)*page.Size, page.Size
		found, _, total, err = a.cfg.Records.Keys.List(by, c.query)
		return found, total, err
	}
	if q.Get("sort_by") == "" {
		q.Set("sort_by", "created_at")
	}
	for k := range a.keysLike(by, q, c.query) {
		if c.has(k) {
			found = append(found, k)
		}
	}
	if err := orders.Sort(q, "desc", found); err != nil {
		return nil, 0, err
	}
	from, to := page.Of(len(found))
	return found[from:to], len(found), nil
}

// keysLike yields the keys that a query selects and the caller may see: all of them or, where it names one, that.
func (a *API) keysLike(by records.Caller, q url.Values, query records.Query) func(yield func(*resource.Key) bool) {
	ref := q.Get("key_hash")
	if part, _ := wire.Flag(q, "substring_matching"); ref == "" && !part {
		ref = q.Get("key_alias")
	}
	if ref == "" {
		query.Sort = "id"
		return a.cfg.Records.KeysFor(by, query)
	}
	return func(yield func(*resource.Key) bool) {
		if k, err := a.cfg.Records.Keys.One(by, ref); err == nil {
			yield(k)
		}
	}
}

// keySorts are the columns that the keys' own list is sorted by.
var keySorts = map[string]string{"key_alias": "name", "created_at": "created_at", "updated_at": "updated_at", "expires": "expires_at"}

// keyOrders are the columns that keys may be sorted by.
func (a *API) keyOrders() wire.Orders[*resource.Key] {
	spend := func(k *resource.Key) resource.Money { return a.cfg.State.Totals(resource.HolderKey, k.ID).Cost }
	return wire.Orders[*resource.Key]{
		"key_alias":  func(x, y *resource.Key) int { return strings.Compare(x.Name, y.Name) },
		"token":      func(x, y *resource.Key) int { return strings.Compare(x.Hash.String(), y.Hash.String()) },
		"user_id":    func(x, y *resource.Key) int { return strings.Compare(x.UserID, y.UserID) },
		"team_id":    func(x, y *resource.Key) int { return strings.Compare(x.TeamID, y.TeamID) },
		"created_at": func(x, y *resource.Key) int { return cmp.Compare(x.CreatedAt, y.CreatedAt) },
		"updated_at": func(x, y *resource.Key) int { return cmp.Compare(x.UpdatedAt, y.UpdatedAt) },
		"expires":    func(x, y *resource.Key) int { return cmp.Compare(x.ExpiresAt, y.ExpiresAt) },
		"spend":      func(x, y *resource.Key) int { return cmp.Compare(spend(x), spend(y)) },
		"max_budget": func(x, y *resource.Key) int {
			return cmp.Compare(fields.MaxBudget(&x.Allowance), fields.MaxBudget(&y.Allowance))
		},
	}
}

// keyChoice reads which keys LiteLLM's list is asked for.
func (a *API) keyChoice(q url.Values) (keyChoice, error) {
	c := keyChoice{query: records.Query{
		TeamID: idOf(a.cfg.Records.Teams, q.Get("team_id")), ProjectID: idOf(a.cfg.Records.Projects, q.Get("project_id")),
		AccessGroupID: idOf(a.cfg.Records.AccessGroups, q.Get("access_group_id")), Q: q.Get("search"),
	}}
	c.narrow(func(k *resource.Key) bool {
		return wire.Selects(c.query.TeamID, k.TeamID) && wire.Selects(c.query.ProjectID, k.ProjectID) &&
			(c.query.AccessGroupID == "" || slices.Contains(k.AccessGroupIDs, c.query.AccessGroupID))
	})
	if h := new(resource.Hash); h.UnmarshalText([]byte(c.query.Q)) == nil { // search takes a hash, too
		if k, ok := a.cfg.State.KeyByHash(*h); ok {
			c.query.Q = k.ID
		}
	}
	part, err := wire.Flag(q, "substring_matching")
	if err != nil {
		return c, err
	}
	if err := a.chooseUser(&c, q, part); err != nil {
		return c, err
	}
	if name := q.Get("key_alias"); name != "" {
		c.add(func(k *resource.Key) bool { return alike(k.Name, name, part) })
	}
	if hash := q.Get("key_hash"); hash != "" {
		c.add(func(k *resource.Key) bool { return k.Hash.String() == hash })
	}
	if id := q.Get("organization_id"); id != "" {
		id = idOf(a.cfg.Records.Organizations, id)
		c.add(func(k *resource.Key) bool {
			t, ok := a.cfg.State.Catalog().Team(k.TeamID)
			return ok && t.OrganizationID == id
		})
	}
	return c, a.chooseStatus(&c, q)
}

// idOf is the id of what a query refers to; what there is not keeps its name, which nothing has.
func idOf[R any, P records.Of[R]](n *records.Noun[R, P], ref string) string {
	if ref == "" {
		return ""
	}
	if r, ok := n.Find(ref); ok {
		return r.Head().ID
	}
	return ref
}

// alike says whether a value is what is asked for, or has it as a part.
func alike(value, asked string, part bool) bool {
	if part {
		return strings.Contains(strings.ToLower(value), strings.ToLower(asked))
	}
	return value == asked
}

// chooseUser reads whose keys are asked for: those of a user and, if a query says so, those of the teams that he
// is an admin of, and those that he has made.
func (a *API) chooseUser(c *keyChoice, q url.Values, part bool) error {
	ofTeams, err := wire.Flag(q, "include_team_keys")
	if err != nil {
		return err
	}
	made, err := wire.Flag(q, "include_created_by_keys")
	if err != nil {
		return err
	}
	user := q.Get("user_id")
	if !part {
		user = idOf(a.cfg.Records.Users, user)
	}
	switch {
	case user == "":
		return nil
	case !part && !ofTeams && !made:
		c.query.UserID = user
		c.narrow(func(k *resource.Key) bool { return k.UserID == user })
		return nil
	}
	leads := map[string]bool{}
	for _, m := range a.cfg.Records.Memberships(user) {
		leads[m.TeamID] = m.Admin
	}
	c.add(func(k *resource.Key) bool {
		return alike(k.UserID, user, part) || ofTeams && leads[k.TeamID] || made && a.maker(k) == user
	})
	return nil
}

// maker is the user by whose key a key was made; "": none was.
func (a *API) maker(k *resource.Key) string {
	id, ok := strings.CutPrefix(k.CreatedBy, "key/")
	if !ok {
		return ""
	}
	by, ok := a.cfg.State.Key(id)
	if !ok {
		return ""
	}
	return by.UserID
}

// chooseStatus reads whether keys are asked for that may be used, or those that may not.
func (a *API) chooseStatus(c *keyChoice, q url.Values) error {
	now := resource.At(a.cfg.Now())
	switch status := q.Get("status"); status {
	case "":
	case "active":
		c.query.Status = "unblocked"
		c.add(func(k *resource.Key) bool { return !k.Blocked && !k.ExpiredAt(now) })
	case "revoked", "blocked":
		c.query.Status = "blocked"
		c.narrow(func(k *resource.Key) bool { return k.Blocked })
	case "expired":
		c.query.Status = "expired"
		c.narrow(func(k *resource.Key) bool { return k.ExpiredAt(now) })
	default:
		return wire.Invalid("status", status+" is not one of active, revoked, expired; keys that were deleted are not kept")
	}
	switch expires := q.Get("expires"); expires {
	case "":
	case "active":
		c.add(func(k *resource.Key) bool { return !k.ExpiredAt(now) })
	case "expired":
		c.add(func(k *resource.Key) bool { return k.ExpiredAt(now) })
	default:
		return wire.Invalid("expires", expires+" is not one of active, expired")
	}
	return nil
}
