package adminapi

// ReadsOwn says whether an inference key may use the route for what is its own.
func ReadsOwn(route string) bool { return rights[route].inference == own }

// Asks lists the routes that read although their method is POST.
var Asks = []string{"litellm-v2-key-info", "litellm-cost-estimate", "litellm-spend-calculate", "litellm-global-spend-end-users", "litellm-key-health"}
