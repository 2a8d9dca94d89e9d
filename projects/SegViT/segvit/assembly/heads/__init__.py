"""The heads that MODEL.SEM_SEG_HEAD.NAME names: a decoder, or one per group of classes, and their losses."""
