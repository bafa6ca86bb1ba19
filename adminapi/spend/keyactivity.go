package spend

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/ledger/rollup"
)

// keySums are what one key did in a range of days.
type keySums struct {
	id, token, alias string
	sums             rollup.Sums
}

// keys asks for the activity of each key, the most expensive first; model names one, "" all.
func (a *API) keys(r *http.Request, by records.Caller, e entity, model string) ([]*keySums, []string, error) {
	group := []rollup.Dim{e.dim, rollup.Key}
	lines, missing, err := a.dayLines(r, by, e, model, group)
	if err != nil {
		return nil, nil, err
	}
	byID := map[string]*keySums{}
	var all []*keySums
	for i := range lines {
		id := lines[i].Names[1]
		if id == "" {
			continue // of no virtual key
		}
		k := byID[id]
		if k == nil {
			k = &keySums{id: id}
			k.token, k.alias = names{a}.key(id)
			byID[id], all = k, append(all, k)
		}
		k.sums.Add(&lines[i].Sums)
	}
	slices.SortFunc(all, func(x, y *keySums) int {
		return cmp.Or(cmp.Compare(y.sums.Cost, x.sums.Cost), strings.Compare(x.token, y.token))
	})
	return all, missing, nil
}

// view writes a key's activity with whose the key is now; of one that is gone only the id is known.
func (k *keySums) view(a *API) map[string]any {
	metrics := metricsOf(&k.sums)
	for _, name := range []string{
		"flat_cost", "ptu_hours", "compression_saved_tokens", "compression_savings_spend", "prompt_caching_savings_spend",
		"gateway_injected_caching_savings_spend", "autorouter_savings_spend", "total_response_time_ms", "timed_requests",
	} {
		delete(metrics, name)
	}
	metadata := map[string]any{"key_alias": orNil(k.alias), "team_id": nil, "user_id": nil, "user_email": nil, "key_exists": false}
	if key, ok := a.cfg.Records.Keys.Find(k.id); ok {
		metadata["key_exists"], metadata["team_id"], metadata["user_id"] = true, orNil(key.TeamID), orNil(key.UserID)
		if u, ok := a.cfg.Records.Users.Find(key.UserID); ok && key.UserID != "" {
			metadata["user_email"] = orNil(u.Email)
		}
	}
	return map[string]any{"api_key": k.token, "metrics": metrics, "metadata": metadata}
}

func (a *API) keyRows(keys []*keySums) []map[string]any {
	rows := make([]map[string]any, 0, len(keys))
	for _, k := range keys {
		rows = append(rows, k.view(a))
	}
	return rows
}

// between reads a number of a query that lies between two.
func between(v url.Values, name string, initial, least, most int) (int, error) {
	text := v.Get(name)
	if text == "" {
		return initial, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, invalid(name, "is no number between "+strconv.Itoa(least)+" and "+strconv.Itoa(most))
	}
	return n, nil
}

// maxKeyRows bounds the keys or users of one answer.
const maxKeyRows = 1000

// pageBounds reads the part of the rows that a query asks for.
func pageBounds(v url.Values) (offset, limit int, err error) {
	if offset, err = between(v, "offset", 0, 0, 1_000_000); err != nil {
		return 0, 0, err
	}
	limit, err = between(v, "limit", 50, 1, maxKeyRows)
	return offset, limit, err
}

// keyPage answers …/aggregated/keys: the keys by what they spent, a part of them at a time.
func (a *API) keyPage(e entity) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		offset, limit, err := pageBounds(r.URL.Query())
		if err != nil {
			return err
		}
		keys, missing, err := a.keys(r, by, e, "")
		if err != nil {
			return err
		}
		from := min(offset, len(keys))
		return write(w, map[string]any{
			"api_keys": a.keyRows(keys[from:min(from+limit, len(keys))]), "total_api_keys": len(keys), "offset": offset, "limit": limit,
		}, missing)
	}
}

// keySearch answers …/aggregated/search: the keys of a hash, or of a part of a name or of a user's id.
func (a *API) keySearch(e entity) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		term := strings.ToLower(r.URL.Query().Get("search"))
		if term == "" {
			return invalid("search", "is missing")
		}
		limit, err := between(r.URL.Query(), "limit", 50, 1, maxKeyRows)
		if err != nil {
			return err
		}
		keys, missing, err := a.keys(r, by, e, "")
		if err != nil {
			return err
		}
		keys = slices.DeleteFunc(keys, func(k *keySums) bool {
			user := ""
			if key, ok := a.cfg.Records.Keys.Find(k.id); ok {
				user = key.UserID
			}
			return k.token != term && !strings.Contains(strings.ToLower(k.alias), term) && !strings.Contains(strings.ToLower(user), term)
		})
		return write(w, map[string]any{"api_keys": a.keyRows(keys[:min(limit, len(keys))])}, missing)
	}
}

// modelTopKeys answers …/aggregated/model_top_keys: who spent the most on a model.
func (a *API) modelTopKeys(e entity) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		v := r.URL.Query()
		model := v.Get("model_group")
		if model == "" {
			return invalid("model_group", "is missing")
		}
		if v.Get("by_model_group") == "false" {
			return invalid("by_model_group", "false is not possible: requests are summed by the model that was asked for")
		}
		limit, err := between(v, "limit", 10, 1, maxKeyRows)
		if err != nil {
			return err
		}
		keys, missing, err := a.keys(r, by, e, model)
		if err != nil {
			return err
		}
		return write(w, map[string]any{"model": model, "by_model_group": true, "api_keys": a.keyRows(keys[:min(limit, len(keys))])}, missing)
	}
}

// leaks is how many tokens of a key's prompts were not read from a provider's cache.
func (k *keySums) leaks() int64 { return k.sums.Prompt - k.sums.CacheRead }

// cacheLeakage answers /user/daily/activity/aggregated/cache_leakage_keys: the keys most of whose prompts' tokens were paid in full.
func (a *API) cacheLeakage(e entity) Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		limit, err := between(r.URL.Query(), "limit", 50, 1, maxKeyRows)
		if err != nil {
			return err
		}
		keys, missing, err := a.keys(r, by, e, "")
		if err != nil {
			return err
		}
		keys = slices.DeleteFunc(keys, func(k *keySums) bool { return k.leaks() <= 0 })
		slices.SortFunc(keys, func(x, y *keySums) int {
			return cmp.Or(cmp.Compare(y.leaks(), x.leaks()), strings.Compare(x.token, y.token))
		})
		return write(w, map[string]any{"api_keys": a.keyRows(keys[:min(limit, len(keys))])}, missing)
	}
}
