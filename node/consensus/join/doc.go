// Package join is how a new node gets into a cluster: the token that an operator carries to
// it, the question that it asks over join/1 (Ask), and the answer of the cluster (Admitter),
// which registers it, signs its certificate and hands it the keys that every node has.
// What must stay true, and why, is in node/consensus/DESIGN.md.
package join
