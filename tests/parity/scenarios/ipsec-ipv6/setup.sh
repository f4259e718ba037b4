ipvsadm -A -u [2001:db8:1::10]:500 -s rr
ipvsadm -a -u [2001:db8:1::10]:500 -r [2001:db8:2::11]:500 -m
