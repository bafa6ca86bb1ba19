package adminapi

// right is one cell of the table of rights. The zero value is no right that was thought
// about: a test refuses it, and the authoriser takes it for a refusal.
type right uint8

const (
	unlisted right = iota
	deny
	allow
	own // the key's own record and that of its team; for people what package delegate lets them
)

// row is the rights of each role on a route. The master key has those of an admin. The four
// in the middle are people's standings (package delegate), which decides about each record.
type row struct {
	admin, viewer               right
	org, team, internal, reader right
	inference                   right // a key that speaks for nobody but itself
}

// The rows that occur.
var (
	adminOnly = row{allow, deny, deny, deny, deny, deny, deny}
	readAll   = row{allow, allow, deny, deny, deny, deny, deny}
	readOwn   = row{allow, allow, own, own, own, own, own}
	listOwn   = row{allow, allow, own, own, own, own, deny}
	keyWrite  = row{allow, deny, own, own, own, deny, deny}
	teamWrite = row{allow, deny, own, own, deny, deny, deny}
	orgWrite  = row{allow, deny, own, deny, deny, deny, deny}
	mcpRead   = row{allow, allow, own, own, own, own, own} // what the key may use on the data path
)

// nounRights are the rights on the routes that every kind of record has.
var nounRights = map[string]row{
	"list":    readAll,
	"get":     readAll,
	"create":  adminOnly,
	"replace": adminOnly,
	"update":  adminOnly,
	"delete":  adminOnly,
}

// rights is the table of rights: each registered route's id has a row.
var rights = withNouns(map[string]row{
	"get-key":  readOwn,
	"get-team": readOwn,

	"list-keys": listOwn, "create-key": keyWrite, "update-key": keyWrite, "replace-key": keyWrite, "delete-key": keyWrite,
	"list-teams": listOwn, "create-team": orgWrite, "update-team": teamWrite, "replace-team": teamWrite, "delete-team": orgWrite,
	"list-projects": listOwn, "create-project": teamWrite, "update-project": teamWrite, "replace-project": teamWrite, "delete-project": teamWrite,
	"list-users": listOwn, "create-user": orgWrite, "update-user": keyWrite, "replace-user": orgWrite, "delete-user": orgWrite,
	"list-organizations": listOwn,

	"get-organization": readOwn,
	"explain-key":      readOwn,
	"get-project":      readOwn,
	"get-user":         readOwn,

	"block-key":        keyWrite,
	"unblock-key":      keyWrite,
	"rotate-key":       keyWrite,
	"pick-up-key":      {allow, own, own, own, own, own, own}, // its owner has the old secret
	"raise-key":        teamWrite,
	"raise-member":     teamWrite,
	"bulk-create-keys": adminOnly,
	"block-team":       orgWrite,
	"unblock-team":     orgWrite,

	"block-organization":   adminOnly,
	"unblock-organization": adminOnly,
	"block-project":        teamWrite,
	"unblock-project":      teamWrite,
	"block-user":           orgWrite,
	"unblock-user":         orgWrite,
	"block-customer":       adminOnly,
	"unblock-customer":     adminOnly,

	"list-members":  listOwn,
	"get-member":    listOwn,
	"create-member": teamWrite,
	"update-member": teamWrite,
	"delete-member": teamWrite,

	"erase-customer":  adminOnly,
	"erase-user":      adminOnly,
	"export-customer": adminOnly,
	"export-user":     adminOnly,
	"list-erasures":   adminOnly,
	"get-erasure":     adminOnly,

	"get-cluster":         readAll,
	"list-nodes":          readAll,
	"get-node":            readAll,
	"get-egress":          readAll,
	"delete-node":         adminOnly,
	"promote-node":        adminOnly,
	"demote-node":         adminOnly,
	"drain-node":          adminOnly,
	"undrain-node":        adminOnly,
	"repair-node":         adminOnly,
	"replace-node":        adminOnly,
	"list-join-tokens":    readAll,
	"create-join-token":   adminOnly,
	"revoke-join-token":   adminOnly,
	"transfer-leadership": adminOnly,
	"get-upgrade":         readAll,
	"finalize-upgrade":    adminOnly,

	"list-requests":   readOwn,
	"get-request":     readOwn,
	"export-requests": readOwn,
	"export-usage":    readOwn,
	"verify-ledger":   readAll,
	"preview-reprice": readAll,
	"reprice-ledger":  adminOnly,

	"litellm-spend-logs":                       readOwn,
	"litellm-spend-logs-v2":                    readOwn,
	"litellm-spend-logs-ui":                    readOwn,
	"litellm-spend-logs-session":               readOwn,
	"litellm-spend-keys":                       readOwn,
	"litellm-spend-users":                      readOwn,
	"litellm-spend-tags":                       readOwn,
	"litellm-key-spend-report":                 readOwn,
	"litellm-user-spend-report":                readOwn,
	"litellm-team-spend-report":                readOwn,
	"litellm-organization-spend-report":        readOwn,
	"litellm-user-activity":                    readOwn,
	"litellm-user-activity-aggregated":         readOwn,
	"litellm-user-activity-export":             readOwn,
	"litellm-team-activity":                    readOwn,
	"litellm-team-activity-aggregated":         readOwn,
	"litellm-team-activity-export":             readOwn,
	"litellm-organization-activity":            readOwn,
	"litellm-organization-activity-aggregated": readOwn,
	"litellm-organization-activity-export":     readOwn,
	"litellm-tag-activity":                     readOwn,
	"litellm-tag-activity-aggregated":          readOwn,
	"litellm-tag-activity-export":              readOwn,
	"litellm-customer-activity":                readOwn,
	"litellm-customer-activity-aggregated":     readOwn,
	"litellm-customer-activity-export":         readOwn,
	"litellm-end-user-activity":                readOwn,
	"litellm-end-user-activity-aggregated":     readOwn,
	"litellm-end-user-activity-export":         readOwn,
	"litellm-global-spend-report":              readAll,
	"litellm-global-spend":                     readAll,
	"litellm-global-spend-logs":                readAll,
	"litellm-global-spend-keys":                readAll,
	"litellm-global-spend-teams":               readAll,
	"litellm-global-spend-models":              readAll,
	"litellm-global-spend-provider":            readAll,
	"litellm-global-spend-tags":                readAll,
	"litellm-global-spend-tag-names":           readAll,
	"litellm-global-end-users":                 readAll,
	"litellm-global-activity":                  readAll,
	"litellm-global-activity-model":            readAll,
	"litellm-spend-logs-content":               readAll,

	"litellm-providers":       readOwn, // the program's own table, for every key
	"litellm-provider-fields": readOwn,

	"list-providers":  readAll,
	"get-provider":    readAll,
	"discover-models": adminOnly,

	"list-blobs":    readAll,
	"verify-blob":   readAll,
	"put-blob":      adminOnly,
	"get-blob-body": adminOnly,
	"delete-blob":   adminOnly,

	"list-prices":          readAll,
	"lookup-price":         readAll,
	"get-price-source":     readAll,
	"list-proposed-prices": readAll,
	"diff-prices":          adminOnly,
	"import-prices":        adminOnly,
	"sync-prices":          adminOnly,
	"accept-prices":        adminOnly,
	"discard-prices":       adminOnly,
	"reset-prices":         adminOnly,

	"litellm-cost-estimate":            {allow, allow, own, own, own, own, own}, // of models that the key may use
	"litellm-spend-calculate":          {allow, allow, own, own, own, own, own},
	"litellm-cost-map":                 readOwn, // of the program and of imports, for every key
	"litellm-cost-map-source":          readAll,
	"litellm-cost-map-reload":          adminOnly,
	"litellm-cost-map-schedule":        adminOnly,
	"litellm-cost-map-unschedule":      adminOnly,
	"litellm-cost-map-schedule-status": readAll,
	"litellm-discounts":                readAll,
	"litellm-discounts-update":         adminOnly,
	"litellm-margins":                  readAll,
	"litellm-margins-update":           adminOnly,

	"plan-config":   adminOnly,
	"apply-config":  adminOnly,
	"export-config": adminOnly, // it has the hash of every key
	"own-config":    adminOnly,

	"list-audit":   readAll,
	"get-audit":    readAll,
	"verify-audit": readAll,
	"export-audit": readAll,
	"list-usage":   readOwn,
	"get-schema":   {allow, allow, allow, allow, allow, allow, allow}, // the OpenAPI document tells no secret

	"litellm-key-generate":               keyWrite,
	"litellm-service-account":            keyWrite,
	"litellm-key-update":                 keyWrite,
	"litellm-key-bulk-update":            keyWrite,
	"litellm-key-delete":                 keyWrite,
	"litellm-key-block":                  keyWrite,
	"litellm-key-unblock":                keyWrite,
	"litellm-key-regenerate":             keyWrite,
	"litellm-key-path-regenerate":        keyWrite,
	"litellm-key-info":                   readOwn,
	"litellm-v2-key-info":                listOwn,
	"litellm-key-list":                   listOwn,
	"litellm-key-aliases":                listOwn,
	"litellm-team-new":                   orgWrite,
	"litellm-team-update":                teamWrite,
	"litellm-team-patch":                 teamWrite,
	"litellm-team-delete":                orgWrite,
	"litellm-team-block":                 orgWrite,
	"litellm-team-unblock":               orgWrite,
	"litellm-team-info":                  readOwn,
	"litellm-team-list":                  listOwn,
	"litellm-v2-team-list":               listOwn,
	"litellm-team-member-add":            teamWrite,
	"litellm-team-bulk-member-add":       teamWrite,
	"litellm-team-member-update":         teamWrite,
	"litellm-team-member-delete":         teamWrite,
	"litellm-team-model-add":             teamWrite,
	"litellm-team-model-delete":          teamWrite,
	"litellm-team-permissions":           listOwn,
	"litellm-team-permissions-update":    teamWrite,
	"litellm-team-permissions-bulk":      teamWrite,
	"litellm-team-key-bulk-update":       keyWrite,
	"litellm-organization-post":          adminOnly,
	"litellm-organization-member-update": orgWrite,
	"litellm-organization-new":           adminOnly,
	"litellm-organization-update":        adminOnly,
	"litellm-organization-patch":         adminOnly,
	"litellm-organization-delete":        adminOnly,
	"litellm-organization-info":          readOwn,
	"litellm-organization-list":          listOwn,
	"litellm-organization-member-add":    orgWrite,
	"litellm-organization-member-delete": orgWrite,
	"litellm-project-new":                teamWrite,
	"litellm-project-update":             teamWrite,
	"litellm-project-delete":             teamWrite,
	"litellm-project-info":               readOwn,
	"litellm-project-list":               listOwn,
	"litellm-user-new":                   orgWrite,
	"litellm-user-update":                keyWrite,
	"litellm-user-delete":                orgWrite,
	"litellm-user-info":                  readOwn,
	"litellm-v2-user-info":               readOwn,
	"litellm-user-list":                  listOwn,
	"litellm-tag-new":                    adminOnly,
	"litellm-tag-update":                 adminOnly,
	"litellm-tag-delete":                 adminOnly,
	"litellm-tag-info":                   adminOnly,
	"litellm-tag-list":                   readAll,
	"litellm-budget-new":                 adminOnly,
	"litellm-budget-update":              adminOnly,
	"litellm-budget-delete":              adminOnly,
	"litellm-budget-info":                adminOnly,
	"litellm-budget-list":                readAll,
	"litellm-budget-settings":            readAll,
	"litellm-model-new":                  adminOnly,
	"litellm-model-delete":               adminOnly,
	"litellm-model-update":               adminOnly,
	"litellm-model-patch":                adminOnly,
	"litellm-model-block":                adminOnly,
	"litellm-model-unblock":              adminOnly,
	"litellm-v2-model-info":              readAll,
	"litellm-model-group-info":           readAll,
	"litellm-credential-new":             adminOnly,
	"litellm-credential-list":            readAll,
	"litellm-credential-by-name":         readAll,
	"litellm-credential-by-model":        readAll,
	"litellm-credential-update":          adminOnly,
	"litellm-credential-delete":          adminOnly,
	"litellm-model-info":                 readAll,
	"litellm-v1-model-info":              readAll,
	"litellm-customer-new":               adminOnly,
	"litellm-customer-update":            adminOnly,
	"litellm-customer-delete":            adminOnly,
	"litellm-customer-block":             adminOnly,
	"litellm-customer-unblock":           adminOnly,
	"litellm-customer-info":              readAll,
	"litellm-customer-list":              readAll,
	"litellm-end-user-new":               adminOnly,
	"litellm-end-user-update":            adminOnly,
	"litellm-end-user-delete":            adminOnly,
	"litellm-end-user-block":             adminOnly,
	"litellm-end-user-unblock":           adminOnly,
	"litellm-end-user-info":              readAll,
	"litellm-end-user-list":              readAll,
	"litellm-audit-list":                 readAll,
	"litellm-audit-get":                  readAll,

	"list-mcp-tools":     mcpRead,
	"get-mcp-health":     readAll,
	"litellm-mcp-list":   mcpRead,
	"litellm-mcp-info":   mcpRead,
	"litellm-mcp-tools":  mcpRead,
	"litellm-mcp-groups": mcpRead,
	"litellm-mcp-health": readAll,
	"litellm-mcp-new":    adminOnly,
	"litellm-mcp-update": adminOnly,
	"litellm-mcp-delete": adminOnly,
	"litellm-mcp-import": adminOnly,
}, "organization", "project", "user", "customer", "tag", "key", "team", "model", "deployment", "credential", "budget", "guardrail", "callback", "plugin", "mcp_server", "setting")
