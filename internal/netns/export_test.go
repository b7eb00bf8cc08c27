package netns

// Travel is [Cookies] as on kernels whose file handles don't tell.
var Travel = travel
