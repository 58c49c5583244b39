// Some pairs of a token and an expert: those of the expert's from first on, in the order that assign makes.
struct Tile { int expert, first, count, none; };
// Where the weights of an expert lie: bytes from the origin.
struct Expert { ulong gate, gate_scales, up, up_scales, down, down_scales; };
