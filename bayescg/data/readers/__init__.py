"""Files and objects of other packages that frames are read from."""
