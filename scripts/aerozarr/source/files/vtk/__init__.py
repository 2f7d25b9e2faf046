"""VTK's XML files, read a block at a time and without the vtk library: VTU and VTP.

`xml` has what others use: `open_xml`. What it cannot read in blocks it refuses with `NotInBlocks`,
so that somebody may read the file with the library; a file that nothing can read is `DamagedVtk`.
"""
